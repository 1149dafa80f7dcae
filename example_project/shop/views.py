"""What shoppers see."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.shortcuts import get_object_or_404
from django.views.generic import DetailView, ListView

from .models import Category, Product


class ProductList(ListView):
    """All products, or those of one category."""

    paginate_by = 48
    template_name = "shop/product_list.html"

    def get_queryset(self) -> QuerySet[Product]:
        products = Product.objects.select_related("category")
        slug = self.kwargs.get("slug")
        self.category = get_object_or_404(Category, slug=slug) if slug else None
        return products.filter(category=self.category) if self.category else products

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(categories=Category.objects.all(), category=self.category, **kwargs)


class ProductDetail(DetailView):
    model = Product
    slug_field = slug_url_kwarg = "sku"
    template_name = "shop/product_detail.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        product = self.object
        return super().get_context_data(categories=Category.objects.all(), category=product.category, **kwargs)
