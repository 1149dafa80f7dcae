"""A small second-hand clothes shop. Nothing here knows that shopgen exists."""

from __future__ import annotations

from django.db import models
from django.urls import reverse


class Category(models.Model):
    name = models.CharField(max_length=100, unique=True)
    slug = models.SlugField(unique=True)

    class Meta:
        verbose_name_plural = "categories"
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Product(models.Model):
    class Condition(models.TextChoices):
        NEW = "new", "New with label"
        HARDLY_WORN = "hardly_worn", "Hardly worn"
        GOOD = "good", "Good"
        WORN = "worn", "Worn, with a story"

    sku = models.CharField("article number", max_length=20, unique=True)
    title = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    category = models.ForeignKey(Category, models.PROTECT, related_name="products")
    condition = models.CharField(max_length=20, choices=Condition.choices, default=Condition.GOOD)
    size = models.CharField(max_length=10, blank=True)
    price = models.DecimalField(max_digits=8, decimal_places=2)
    image = models.ImageField(upload_to="products", blank=True)
    image_alt = models.CharField("text alternative", max_length=255, blank=True)
    on_sale_since = models.DateField(auto_now_add=True)

    class Meta:
        ordering = ["sku"]

    def __str__(self) -> str:
        return self.title

    def get_absolute_url(self) -> str:
        return reverse("shop:product", args=[self.sku])
